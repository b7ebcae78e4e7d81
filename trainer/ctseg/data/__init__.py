"""What is learnt from: folders and phantoms as `Samples`, and their split."""
