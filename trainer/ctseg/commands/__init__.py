"""The commands of `ctseg`, one module each: `add(commands)` declares it, `run(arguments)` does it and returns the exit
code. No module here imports torch before it runs.
"""
