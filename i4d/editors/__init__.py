"""Editors: pictures and a sentence in, pictures out. A package a kind; what all of them share stands here."""
