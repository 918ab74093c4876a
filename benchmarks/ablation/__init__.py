"""The ablation: what each part of the method adds, in runs that are paired by their seed. See docs/ablation.md.

A seed's rows share the images and weights of their first epochs, in which loss 1 trains alone. Each row is then a branch of
its own. A row is compared with another one seed by seed.
"""
