"""Intervals, bootstraps and paired tests on answers that share sources and training seeds.

Data are *contributions*: what one item adds to the sums that a metric is computed from, e.g.
``(right, 1)`` for accuracy. Items fall into *clusters* (adversarial items made from one source
sentence share its ``origin``), and each item is answered once by each of S training seeds. A metric is
a function of sums, so a resample of clusters costs one matrix product, and models whose contributions
stand side by side are resampled on the same clusters, that is, paired.

**Which interval.** Coverage was simulated with AdvGLUE's cluster sizes. The percentile and the BCa
bootstrap fall to 90% and below for fewer than about 30 clusters or for proportions near 0 or 1 (and to
zero width where every item is right or wrong). Wilson's interval with an *effective sample size*
``p (1 - p) / variance``, the variance taken from the cluster bootstrap and the quantile from Student's
t (Franco, Little, Louis & Slud, "Comparative Study of Confidence Intervals for Proportions in Complex
Sample Surveys", J. Survey Stat. Methodol. 2019), held 92.5% or more everywhere at hardly more width; it is
used for proportions, and is Wilson's own interval where nothing is clustered (on fewer than 5 items, where
that covers down to 84%, Clopper and Pearson's exact one). Other statistics take
the percentile bootstrap, widened around the value for the small-sample bias of resampled variances
and for Student's t (Hesterberg, "What Teachers Should Know about the Bootstrap", Am. Stat. 2015). For F1 and
means of metrics on fewer than 50 clusters it covered 77 to 90% on 5 to 15 items; there the interval also
spans Wilson's with at most two thirds of the clusters, which together held 94% or more. A single cluster
shows no scatter: its interval is all that the value can be. In a mean over tasks such a task counts by
its own interval, and a share without scatter by Agresti and Coull's variance.

**Seeds.** Seeds are crossed with items, so the variance of the mean over S seeds is what the clusters
contribute to all seeds alike, plus the variance between seeds over S. The latter is pooled over the study's
cells (:mod:`trilemma.statistics.seeds`), and what the items explain of it is not counted twice; the degrees
of freedom of the sum are Satterthwaite's (Biometrics Bulletin 1946). With two seeds that covers 94 to 98%
where one model's own two seeds cover 84 to 98% at up to twice the width (``benchmarks/statistics.py``). With
one seed an interval speaks of that trained model only, unless other candidates of the study have several.
"""
