"""Makes an application's own log the log, without losing a row; proves it; and gives it back.

shape: which column is which.  examine: what can be adopted.  steps: what is to be done.  adopt, undo: doing it.
proof: that nothing was lost.  lens: reading and writing through it.  locks: waiting without being in the way.
"""
