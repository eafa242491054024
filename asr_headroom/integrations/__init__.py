"""For people who keep their own training script: what this project knows, as parts that fit into it.

Start with :mod:`asr_headroom.integrations.seq2seq`. Nothing else in the package imports this room.
"""
