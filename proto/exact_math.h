// Exponentials and logarithms by +, -, *, / alone: the last bit of libm's differs between
// processors, and what is kept in rows must not. Pure; safe from any thread.
#pragma once

namespace emporium {

// 2^-x for x >= 0.
double HalfToThe(double x);
// ln x for a finite x > 0; minus infinity for 0.
double NaturalLog(double x);
// ln(e^a + e^b); minus infinity is a legal argument.
double LogAddExp(double a, double b);
// ln(n + 1) / ln(N + 1), in [0, 1]; what is below 0 counts as 0, and of N = 0 it is 0.
double ShareOfLog(double n, double total);

}  // namespace emporium
