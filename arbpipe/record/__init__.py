"""Recordings: frames as they came, read back in order.

Owns the recording format and the folder of REST books as a recording; drives a feed from either. Touches files; knows no
protocol (a frame is bytes). Promises that a frame is applied at its own time on the age clock and never before.
"""
