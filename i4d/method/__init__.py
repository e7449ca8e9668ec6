"""The method of Instruct 4D-to-4D on plain tensors, whatever the editor and the field: key frames that agree
by depth, windows along time, and what is averaged.
"""
