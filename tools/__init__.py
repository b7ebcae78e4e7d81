"""What the Makefile's verbs call: set-up, installing the product on a cluster, the demo. Not part of the product."""
