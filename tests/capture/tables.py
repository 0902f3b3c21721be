"""The data of the capture corpus, as plain lists: the two languages turn them into their own arrays."""

# Seeds (Crowder 1978): r of n seeds germinated, by seed type x1 and root extract x2.
SEEDS_R = [10, 23, 23, 26, 17, 5, 53, 55, 32, 46, 10, 8, 10, 8, 23, 0, 3, 22, 15, 32, 3]
SEEDS_N = [39, 62, 81, 51, 39, 6, 74, 72, 51, 79, 13, 16, 30, 28, 45, 4, 12, 41, 30, 51, 7]
SEEDS_X1 = [0] * 11 + [1] * 10
SEEDS_X2 = [0] * 5 + [1] * 6 + [0] * 5 + [1] * 5

# Eight schools (Rubin 1981): effect and standard error a school.
SCHOOLS_Y = [28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0]
SCHOOLS_S = [15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0]

GRID = [0.0, 0.4, 1.1, 1.5, 2.3, 3.0]
CURVE = [0.1, 0.5, 0.9, 1.1, 0.4, -0.2]
RETURNS = [0.3, -1.1, 0.2, 2.0, -0.4, 0.1, -0.9]
COUNTS = [[3, 0, 7, 2], [1, 11, 0, 0], [4, 4, 1, 3]]
POINTS = [-2.1, -1.8, 0.2, 1.9, 2.4, 2.2]
PAIRS = [[0.3, -0.2, 1.0], [1.2, 0.4, -0.7], [-0.5, 0.9, 0.1], [0.2, -1.4, 0.6]]
TABLE = [[0.5, -0.1, 0.7], [1.5, 0.2, -0.3]]
