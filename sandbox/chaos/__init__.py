"""`make chaos`: real processes, real HTTP, and everything that goes wrong, counted from the outside.

lane        one database and queue, in a directory of its own; its scenarios run one after the other
stage       the processes of one scenario: the service, its workers, an iTop, an Intercom
tap         a line between two of them: notes when what passed, and does harm on demand
tally       what iTop holds in the end, against what was said: kept, doubled, out of order, restored
scenarios   what happens
"""
