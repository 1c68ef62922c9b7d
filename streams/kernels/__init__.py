"""Loops over bytes and arrays that Python is too slow for, compiled by numba and run without the interpreter's lock.

Kernels are pure functions of arrays. They allocate nothing: the caller makes room. What a kernel is not sure about it
leaves to Python. Each checks the lengths that it is given, and writes only within the arrays.
"""
