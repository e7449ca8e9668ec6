"""Plan, retry policy, rounds and events: what coordinates the services. Plain Python, neither torch nor
ray.
"""
