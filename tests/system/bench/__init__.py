"""`make bench`: what it costs, each number beside the one it has to be compared with, in one run.

load      clients that send prepared requests as fast as they are answered
rows      databases filled in bulk
measures  what is measured
two_way   the way back, from iTop to Intercom
files     files in both directions: memory, and the throughput beside that of a plain client
"""
