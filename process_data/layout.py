"""What lies where: data sets, videos, frame folders."""
import os

DATA_ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'data')
