"""Board games: rules, perfect play, the policy-and-value net, self-play and matches. Numpy, and torch for the net."""
