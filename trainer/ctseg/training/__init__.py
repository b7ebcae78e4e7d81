"""The training, one module per concern: `loop` is the loop, `step` what one step of the optimizer is made of, the rest
are the parts they use. Nothing here knows of networks, losses or files of data by name.
"""
