"""The parts of `benches/run peers`: who runs, with which keys, under which loads, and what is told of it. `../peers.py` puts them together."""
