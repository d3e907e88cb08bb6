"""The published figures of the method, one CSV row a model (facts; S4oP, arXiv 2606.18096).

Test accuracy in percent; reductions in percent of the unpruned model's latency (eager PyTorch, batch 1) and
parameters, as the authors' notebook has them; `allocation` is how the budget was shared over the layers,
`none` is the unpruned model.
"""

from __future__ import annotations

__all__ = ["PUBLISHED_CSV"]

PUBLISHED_CSV = """\
model,dataset,allocation,rate_pct,accuracy_pct,latency_reduction_pct,param_reduction_pct
s4d,imdb,none,0,87.252,0,0
s4d,imdb,exponential,10,87.74,1.94,2.0
s4d,imdb,exponential,30,87.79,13.48,6.03
s4d,imdb,exponential,50,87.74,24.85,10.05
s4d,imdb,exponential,70,87.26,36.98,14.06
s4d,imdb,exponential,90,80.87,46.54,18.09
s4d,imdb,random,10,87.35,1.09,2.01
s4d,imdb,random,30,86.08,12.19,6.02
s4d,imdb,random,50,84.11,23.29,10.05
s4d,imdb,random,70,79.4,35.18,14.06
s4d,imdb,random,90,65.5,48.35,18.08
s4,imdb,none,0,85.668,0,0
s4,imdb,exponential,10,85.85,5.39,3.32
s4,imdb,exponential,30,85.90,18.44,9.99
s4,imdb,exponential,50,86.04,31.34,16.66
s4,imdb,exponential,70,82.27,45.51,23.29
s4,imdb,exponential,90,67.19,56.97,29.96
s4,imdb,random,10,85.21,5.0,3.42
s4,imdb,random,30,82.92,18.22,9.99
s4,imdb,random,50,79.58,30.94,16.66
s4,imdb,random,70,66.85,44.31,23.29
s4,imdb,random,90,59.01,59.6,29.96
s4d,listops,none,0,59.7,0,0
s4d,listops,exponential,10,59.60,4.59,3.29
s4d,listops,exponential,30,58.45,18.74,9.9
s4d,listops,exponential,50,51.15,32.91,16.52
s4d,listops,exponential,70,44.15,47.62,23.1
s4d,listops,exponential,90,38.15,61.35,29.71
s4d,listops,random,10,59.55,4.22,3.29
s4d,listops,random,30,59.00,18.15,9.9
s4d,listops,random,50,55.50,32.28,16.52
s4d,listops,random,70,46.10,46.81,23.1
s4d,listops,random,90,38.65,63.23,29.71
s4,listops,none,0,61.3,0,0
s4,listops,exponential,10,59.65,6.67,4.88
s4,listops,exponential,30,56.95,21.34,14.78
s4,listops,exponential,50,51.05,35.16,24.68
s4,listops,exponential,70,44.85,49.80,34.58
s4,listops,exponential,90,38.80,63.30,44.41
s4,listops,random,10,58.80,6.47,4.89
s4,listops,random,30,56.65,20.67,14.78
s4,listops,random,50,46.80,34.66,24.68
s4,listops,random,70,41.45,49.0,34.51
s4,listops,random,90,37.15,66.08,44.41
s4d,pathfinder,none,0,98.655,0,0
s4d,pathfinder,exponential,10,99.57,3.07,2.0
s4d,pathfinder,exponential,30,99.45,14.62,6.02
s4d,pathfinder,exponential,50,98.16,26.15,10.05
s4d,pathfinder,exponential,70,95.0,38.08,14.06
s4d,pathfinder,exponential,90,63.78,45.19,18.07
s4d,pathfinder,random,10,99.61,2.69,2.01
s4d,pathfinder,random,30,99.51,15.23,6.02
s4d,pathfinder,random,50,99.07,28.57,10.04
s4d,pathfinder,random,70,92.66,43.46,14.06
s4d,pathfinder,random,90,82.12,48.85,18.08
s4,pathfinder,none,0,94.770,0,0
s4,pathfinder,exponential,10,96.07,5.17,3.32
s4,pathfinder,exponential,30,94.33,16.32,9.97
s4,pathfinder,exponential,50,91.2,26.7,16.65
s4,pathfinder,exponential,70,73.24,38.84,23.30
s4,pathfinder,exponential,90,50.93,46.9,29.95
s4,pathfinder,random,10,95.58,5.37,3.31
s4,pathfinder,random,30,92.31,16.53,9.97
s4,pathfinder,random,50,85.11,28.1,16.64
s4,pathfinder,random,70,62.7,40.49,23.30
s4,pathfinder,random,90,50.47,50.52,29.95
"""
