"""Which adversarial examples keep their label: filters first, then the verdicts of people."""
