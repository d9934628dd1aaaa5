/* The exponentials of a softmax. Included once for each type, with BITS, an unsigned integer as wide as REAL. */

/* e^x for x <= 0, within 2 units in the last place; 0 where it would be denormal; NaN for NaN.
   x = n*ln(2) + r with |r| <= ln(2)/2, so e^x = 2^n * e^r, and e^r is its Taylor series; the first term left out is
   below 5e-9 for float, 4e-18 for double. ln(2) is a sum, so that n times its larger part is exact. Adding 1.5*2^p,
   where a unit in the last place is 1, rounds x/ln(2) to n, which is then in the lowest bits. */
CYCONV_INLINE REAL PANEL(exp)(REAL x)
{
    static const REAL inverse_factorial[] = {
        1, 1, 1 / 2., 1 / 6., 1 / 24., 1 / 120., 1 / 720., 1 / 5040., 1 / 40320., 1 / 362880., 1 / 3628800.,
        1 / 39916800., 1 / 479001600., 1 / 6227020800.};
    const int single = sizeof(REAL) == sizeof(float);
    const int degree = single ? 7 : 13, mantissa = single ? 23 : 52, bias = single ? 127 : 1023;
    const REAL least = (REAL)(single ? -87.3365 : -708.396); /* -126 ln(2), -1022 ln(2) */
    const REAL ln2 = (REAL)(single ? 0.693145751953125 : 0.693147180559663);
    const REAL ln2_rest = (REAL)(single ? 1.4286068203094173e-06 : 2.8235290563031577e-13);
    const REAL rounder = (REAL)(single ? 12582912.0 : 6755399441055744.0);

    const REAL inside = x < least ? least : x;
    const REAL rounded = inside * (REAL)1.44269504088896340736 + rounder; /* 1/ln(2) */
    const REAL n = rounded - rounder;
    const REAL r = (inside - n * ln2) - n * ln2_rest;
    REAL series = inverse_factorial[degree], power;
#pragma GCC unroll 16
    for (int k = degree - 1; k >= 0; k--) series = series * r + inverse_factorial[k];
    BITS bits;
    memcpy(&bits, &rounded, sizeof bits);
    bits = (bits + (BITS)bias) << mantissa; /* of 2^n */
    memcpy(&power, &bits, sizeof bits);
    return x < least ? 0 : series * power;
}

/* out[k] = e^(x[k] - max of x); returns that maximum. A NaN or +inf in x makes NaN of its own element. */
static REAL PANEL(exponentials)(const REAL *x, ptrdiff_t size, REAL *out)
{
    REAL most[16], max = x[0];
    ptrdiff_t k = 0;
    for (int l = 0; l < 16; l++) most[l] = x[0];
    for (; k + 16 <= size; k += 16)
        for (int l = 0; l < 16; l++) most[l] = x[k + l] > most[l] ? x[k + l] : most[l];
    for (; k < size; k++) max = x[k] > max ? x[k] : max;
    for (int l = 0; l < 16; l++) max = most[l] > max ? most[l] : max;
    for (k = 0; k < size; k++) out[k] = PANEL(exp)(x[k] - max);
    return max;
}
