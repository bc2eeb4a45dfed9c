// SPDX-License-Identifier: Apache-2.0
// How the rows of a weight format lie on the device: planes, from graph/dtype.def as Q_ELEMS (weights a block) and
// Q_PLANE0..2 (bytes a block). Positions are in units of 16 bytes; planes 1 and 2 begin so far behind plane 0, which
// begins the row.
uint q_plane1(uint k) { return (k / Q_ELEMS * Q_PLANE0 + 15u) >> 4; }
uint q_plane2(uint k) { return q_plane1(k) + ((k / Q_ELEMS * Q_PLANE1 + 15u) >> 4); }
uint q_row(uint k) { return q_plane2(k) + ((k / Q_ELEMS * Q_PLANE2 + 15u) >> 4); }
