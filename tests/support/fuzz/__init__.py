"""Mutated payloads for every parser, and the rules that hold whatever they are."""
