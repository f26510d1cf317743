"""The lab's cloud: a server that speaks the Hetzner Cloud API (version 1), without Hetzner behind it.

`CloudApi` is the whole of it, a state machine that takes requests and gives answers; `http_face` puts it on a socket;
what a server really is, `Machines` says. What the lab does not do has no route and answers 404 not_found.
"""
