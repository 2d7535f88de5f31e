"""A secure channel and a stream muxer of our own, wire-compatible with Noise XX and Yamux.

Pure parts: noise (records), frames and yamux (the muxer's state machine). Their Trio shells are
secure and muxer. What puts them under libp2p's interfaces is in p2pnode/net/libp2p/channel.py.
"""
