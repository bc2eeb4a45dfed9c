// SPDX-License-Identifier: Apache-2.0
// The step buffer (layout: args.h). A kernel declares `uint step_w[]`; STEP_RW makes it writable.
uint step_row(uint r, uint field)
{
    return step_w[STEP_ROWS_AT + r * STEP_ROW_WORDS + field];
}

uint step_slot(uint slot_at, uint i, uint field)
{
    return step_w[slot_at + i * STEP_SLOT_WORDS + field];
}

#ifdef STEP_RW
// Records the token a slot chose and makes its row ready for the next pass.
void step_advance(uint slot_at, uint i, uint token)
{
    uint at = slot_at + i * STEP_SLOT_WORDS, row = step_w[at + SLOT_DST_ROW];
    step_w[at + SLOT_RING + step_w[at + SLOT_COUNTER] % STEP_RING] = token;
    step_w[at + SLOT_TOKEN] = token;
    if (row != ROW_INACTIVE) {
        uint r = STEP_ROWS_AT + row * STEP_ROW_WORDS;
        step_w[r + ROW_TOKEN] = token;
        step_w[r + ROW_POS] = step_w[at + SLOT_POS];
        step_w[r + ROW_SEQ] = step_w[at + SLOT_SEQ];
        step_w[r + ROW_CELL] = step_w[at + SLOT_CELL];
        step_w[r + ROW_LO] = step_w[at + SLOT_LO];
        step_w[r + ROW_HI] = step_w[at + SLOT_CELL] + 1u;
        step_w[r + ROW_POS2] = step_w[at + SLOT_POS2];
    }
    step_w[at + SLOT_POS] += step_w[at + SLOT_POS_STEP];
    step_w[at + SLOT_POS2] += step_w[at + SLOT_POS2_STEP];
    step_w[at + SLOT_CELL]++;
    step_w[at + SLOT_COUNTER]++;
}
#endif
