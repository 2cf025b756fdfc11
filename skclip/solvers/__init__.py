"""Minimization on arrays: logistic regression for many penalties and folds of one matrix at once.

One file holds one step: `softmax` the loss of a block of rows, `rows` the copy of the features that
all fits share, `passes` one look of many fits at that copy, `minimum` the minimization of one fit,
and `paths` the fits for many penalties and folds side by side. No estimator is known here.
"""
