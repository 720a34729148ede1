"""Standard errors: sandwiches, few clusters, jackknife, bootstrap."""
