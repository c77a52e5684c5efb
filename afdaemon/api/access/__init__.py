"""Who may come in, and what they may do there: roles, keys, and the guard of the tcp sockets."""
