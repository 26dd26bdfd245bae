"""Programs that do what sysmut does and nothing else, in a straight line: no options, no locks, no checks, and no
way back. Each is started by itself, so that each has what it needs in it, and nothing is shared.
"""
