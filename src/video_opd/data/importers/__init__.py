"""Annotation files of the field, as they come, become manifests.

One short file per data set says where it comes from, shows a line of it and yields `Annotation`s; `reading` finds the
importer, `collecting` applies the named policies and keeps the account. Nothing is guessed: a file of another format is
refused, with the formats that could read it.
"""
