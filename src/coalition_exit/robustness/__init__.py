"""How far a finding can be trusted: compensation, disputed codings, influence."""
