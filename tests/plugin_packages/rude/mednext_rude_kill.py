import os
import sys

sys.stdout.write("slam\n")
sys.stdout.flush()
os._exit(0)
