"""A storm over a real cluster while a sweep runs on it: `make chaos`, docs/chaos.md.

stage       the cluster, the chart on it, and the ways to reach into it
proxy       between operator, hub and API server: answers late, wrong, never
supervisor  starts again what has ended, as systemd would
faults      what is struck, how it is mended, when all is right again
schedule    which fault at which moment, from a seed
watcher     what the API and the node's processes show, from outside
verdict     what has to hold afterwards
report      how often, how long, at what cost
"""
