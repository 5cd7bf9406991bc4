"""`make chaos`: real processes, real HTTP and injected faults, with the result counted from the outside.

environment  one database and queue in a directory of its own; its scenarios run one after the other
testbed      the processes of one scenario: the service, its workers, an iTop, an Intercom
proxy        between two of them: records when each call passed, and injects faults
traffic      the clients that write messages
two_way      agents in iTop and customers in Intercom
files        files and pictures in both directions (samples: their content; stored: what the stand-ins hold)
flood        one customer who writes very much
result       what iTop has in the end, compared with what was sent: written, duplicated, out of order, restored
scenarios    what happens
"""
