"""What a study's two tables say, as numbers: scores, comparisons, Pareto front, cautions."""
