"""From records to encoded batches: lane.py takes them in, encode.py makes COPY text of them, writer.py drains."""
