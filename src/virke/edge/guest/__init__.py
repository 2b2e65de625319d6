"""What runs inside the component: stores by host calls, HTTP, tokens, and the program that was built in.

The only part that imports `wit_world`, the host's calls, which exist in a component alone. Everything is imported when
the component is built: what is not in its image then can't be imported later (decision 0032).
"""
