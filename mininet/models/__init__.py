"""The MobileNets as tables, the conventions of each framework, and a registry of names.

Nothing is imported here, so that ``import mininet`` stays fast; see `mininet.models.registry`.
"""
