/* The matrices of Winograd's minimal filtering, F(m x m, r x r) with m + r = 7, r in 2..5: tiles of 6x6 pixels; or F(m, r)
   along one axis: tiles of 6.

   y = A^T [(G g) * (B^T d)] in each direction (Winograd, 1980; Lavin and Gray, 2016), made from the points
   0, +-P, +-Q, infinity by the Toom-Cook construction. P = 5/8 and Q = 3/2 (WP and WQ, in each type) keep the matrices
   small: the largest error in float32 is a third of that of the usual +-1, +-2. The pairs +-p share their even and odd
   halves. */
#ifndef CYCONV_WINOGRAD_POINTS_H
#define CYCONV_WINOGRAD_POINTS_H

/* B^T d: six pixels to six values, elementwise on vectors. */
#define WINOGRAD_INPUT(type, d, v)                                                                        \
    do {                                                                                            \
        const REAL p2 = WP * WP, q2 = WQ * WQ;                                                      \
        const type even_p = d[4] - q2 * d[2], odd_p = WP * (d[3] - q2 * d[1]);          \
        const type even_q = d[4] - p2 * d[2], odd_q = WQ * (d[3] - p2 * d[1]);          \
        v[0] = d[4] - (p2 + q2) * d[2] + p2 * q2 * d[0];                                            \
        v[1] = even_p + odd_p;                                                                      \
        v[2] = even_p - odd_p;                                                                      \
        v[3] = even_q + odd_q;                                                                      \
        v[4] = even_q - odd_q;                                                                      \
        v[5] = d[5] - (p2 + q2) * d[3] + p2 * q2 * d[1];                                            \
    } while (0)

/* A^T v: six values to m sums. */
#define WINOGRAD_OUTPUT(type, v, y, m)                                                                    \
    do {                                                                                            \
        const REAL p2 = WP * WP, q2 = WQ * WQ;                                                      \
        const type sum_p = v[1] + v[2], difference_p = WP * (v[1] - v[2]);              \
        const type sum_q = v[3] + v[4], difference_q = WQ * (v[3] - v[4]);              \
        y[0] = v[0] + sum_p + sum_q;                                                                \
        y[1] = difference_p + difference_q;                                                         \
        if (m > 2) y[2] = p2 * sum_p + q2 * sum_q;                                                  \
        if (m > 3) y[3] = p2 * difference_p + q2 * difference_q;                                    \
        if (m > 4) y[4] = p2 * p2 * sum_p + q2 * q2 * sum_q;                                        \
        y[m - 1] += v[5];                                                                           \
    } while (0)

/* G g: r weights to six values. */
#define WINOGRAD_WEIGHT(type, g, u, r)                                                                    \
    do {                                                                                            \
        const REAL p2 = WP * WP, q2 = WQ * WQ;                                                      \
        const REAL zero = 1 / (p2 * q2), at_p = 1 / (2 * p2 * (p2 - q2)), at_q = 1 / (2 * q2 * (q2 - p2)); \
        type even_p = g[0], odd_p = g[1], even_q = g[0], odd_q = g[1];                              \
        if (r > 2) even_p += p2 * g[2], even_q += q2 * g[2];                                        \
        if (r > 3) odd_p += p2 * g[3], odd_q += q2 * g[3];                                          \
        if (r > 4) even_p += p2 * p2 * g[4], even_q += q2 * q2 * g[4];                              \
        u[0] = zero * g[0];                                                                         \
        u[1] = at_p * (even_p + WP * odd_p);                                                        \
        u[2] = at_p * (even_p - WP * odd_p);                                                        \
        u[3] = at_q * (even_q + WQ * odd_q);                                                        \
        u[4] = at_q * (even_q - WQ * odd_q);                                                        \
        u[5] = g[r - 1];                                                                            \
    } while (0)

/* A y: m gradients to six values, the transpose of WINOGRAD_OUTPUT. */
#define WINOGRAD_GRAD(type, y, v, m)                                                                \
    do {                                                                                            \
        const REAL p2 = WP * WP, q2 = WQ * WQ;                                                      \
        type even_p = y[0], odd_p = WP * y[1], even_q = y[0], odd_q = WQ * y[1];                    \
        if (m > 2) even_p += p2 * y[2], even_q += q2 * y[2];                                        \
        if (m > 3) odd_p += WP * p2 * y[3], odd_q += WQ * q2 * y[3];                                \
        if (m > 4) even_p += p2 * p2 * y[4], even_q += q2 * q2 * y[4];                              \
        v[0] = y[0];                                                                                \
        v[1] = even_p + odd_p;                                                                      \
        v[2] = even_p - odd_p;                                                                      \
        v[3] = even_q + odd_q;                                                                      \
        v[4] = even_q - odd_q;                                                                      \
        v[5] = y[m - 1];                                                                            \
    } while (0)

/* G^T u: six values to r weights, the transpose of WINOGRAD_WEIGHT. */
#define WINOGRAD_TAPS(type, u, g, r)                                                                \
    do {                                                                                            \
        const REAL p2 = WP * WP, q2 = WQ * WQ;                                                      \
        const REAL zero = 1 / (p2 * q2), at_p = 1 / (2 * p2 * (p2 - q2)), at_q = 1 / (2 * q2 * (q2 - p2)); \
        const type even_p = at_p * (u[1] + u[2]), odd_p = at_p * WP * (u[1] - u[2]);                \
        const type even_q = at_q * (u[3] + u[4]), odd_q = at_q * WQ * (u[3] - u[4]);                \
        g[0] = zero * u[0] + even_p + even_q;                                                       \
        g[1] = odd_p + odd_q;                                                                       \
        if (r > 2) g[2] = p2 * even_p + q2 * even_q;                                                \
        if (r > 3) g[3] = p2 * odd_p + q2 * odd_q;                                                  \
        if (r > 4) g[4] = p2 * p2 * even_p + q2 * q2 * even_q;                                      \
        g[r - 1] += u[5];                                                                           \
    } while (0)
#endif
