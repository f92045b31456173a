/* On processors whose instructions the kernels do not use: nothing is claimed, so that llama.cpp computes everything. What
 * remains is the plain C of `reference.c` and `formats.c`, and the checks. */
#include "kernels.h"

#ifndef __x86_64__

bool attends(const tensor *t) { return (void)t, false; }
bool turnable(const tensor *t) { return (void)t, false; }
size_t attention_shared(const tensor *t) { return (void)t, 0; }
size_t attention_own(const tensor *t) { return (void)t, 0; }
sight *sight_of(state *state, const tensor *attention) { return (void)state, (void)attention, NULL; }
bool locate(sight *sight, const tensor *places, const tensor *positions, int cells)
{
    return (void)sight, (void)places, (void)positions, (void)cells, true;
}
bool look(sight *sight, int cells, int tokens) { return (void)sight, (void)cells, (void)tokens, true; }
void look_away(sight *sight) { (void)sight; }
bool add_turns(state *state, const tensor *t) { return (void)state, (void)t, true; }
void compute_turns(part *part) { (void)part; }
void attention(part *part, const tensor *t) { (void)part, (void)t; }
void rms_norm(part *part, const tensor *t) { (void)part, (void)t; }
void combine(part *part, const tensor *t, bool times) { (void)part, (void)t, (void)times; }
void scale(part *part, const tensor *t) { (void)part, (void)t; }
void hyperbolic_tangent(part *part, const tensor *t) { (void)part, (void)t; }
void rope(part *part, const tensor *t) { (void)part, (void)t; }
void set_rows(part *part, const tensor *t) { (void)part, (void)t; }
void get_rows(part *part, const tensor *t) { (void)part, (void)t; }
void glu(part *part, const tensor *t, bool gelu) { (void)part, (void)t, (void)gelu; }

#endif
