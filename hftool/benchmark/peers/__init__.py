"""Other engines, one file each, with one function for each kind of work: work and variant to an arm.

A package is imported only in the process of its arm. A function raises UsageError where its engine cannot do the work.
"""
