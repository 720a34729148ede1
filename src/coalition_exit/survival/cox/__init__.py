"""The Cox model: risk sets, likelihoods, solver, estimator."""
