"""Procedural moving scenes with exact answers: colour, depth, flow, object ids and re-rendered edits."""
