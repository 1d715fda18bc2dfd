"""Fingerprint what the commands make, so that two versions of the code can be compared.

A change that should change nothing is proved by running this before and after it:

    python -m tests.sameness > before.txt           # ... change the code ...
    python -m tests.sameness --compare before.txt   # names what differs, and exits with 1

Every line is ``NAME  HASH``: a file that a command wrote, or what it printed. The first part of a name is the scene,
``FAMILY/TASK`` or ``masks``: a series of command lines in a folder of its own. ``--details FOLDER`` writes what was hashed as
text, so that ``diff -r`` of two such folders explains a difference. Pictures and clips are drawn here, model classes
are miniatures (``--model tiny``), everything runs on one CPU thread.

Masked before hashing: the folder, times and durations, the version, and amounts of free memory. Hashes of tensors and
pictures hold for one machine and one set of installed libraries only, so the listing is not kept in the repository.

Miniatures are built in memory. How model files are read, under every name that others give to layers, is covered with
``--models FOLDER``: files that an earlier version wrote, so that they stay the same when the code that names layers
changes.

The product is driven through its command line alone; what else is asked of it is in :mod:`tests.sameness.tasks`.
"""
