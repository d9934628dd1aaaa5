/* The exponentials of a softmax. Included once for each type, with BITS (an unsigned integer as wide as REAL) and
   EXP_* defined. */

/* e^x for x <= 0, within 2 units in the last place; 0 where it would be denormal; NaN for NaN.
   x = n*ln(2) + r with |r| <= ln(2)/2, so e^x = 2^n * e^r, and e^r is its Taylor series. Added to 1.5*2^p, where a
   unit in the last place is 1, x/ln(2) is rounded to n, which is then found in the lowest bits. */
CYCONV_INLINE REAL PANEL(exp)(REAL x)
{
    static const REAL inverse_factorial[] = {EXP_SERIES};
    const int degree = sizeof inverse_factorial / sizeof(REAL);
    const REAL least = EXP_LEAST, inside = x < least ? least : x;
    const REAL rounded = inside * (REAL)1.44269504088896340736 + (REAL)EXP_ROUND; /* 1/ln(2) */
    const REAL n = rounded - (REAL)EXP_ROUND;
    const REAL r = (inside - n * (REAL)EXP_LN2_HIGH) - n * (REAL)EXP_LN2_LOW;
    REAL series = inverse_factorial[degree - 1], power;
#pragma GCC unroll 16
    for (int k = degree - 2; k >= 0; k--) series = series * r + inverse_factorial[k];
    BITS bits;
    memcpy(&bits, &rounded, sizeof bits);
    bits = (bits + EXP_BIAS) << EXP_MANTISSA; /* of 2^n */
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
