// W ⊙ M into a scratch, from M's bits as the pack holds them: rows of ceil(cols / 8) bytes, bit i of byte j is column
// 8 j + i, 1 keeps. What follows is an ordinary GEMM, so this is the way for many rows.
//
// One thread per byte of the mask: eight weights, in 16-bit words one 16-byte load and store, neighbours side by side.
// A select, no product: a weight that is NaN or infinite vanishes like any other, and any 16-bit format will do.
//
// Traffic of an (out, in) weight in 16 bits: 2 read + 2 written + 1/8 read = 4.125 bytes a weight, and the GEMM reads
// the 2 again; in 32 bits 8.125. No arithmetic to speak of, so it runs at the speed of memory.
#include "words.cuh"

template <typename Word>
__device__ void expand(const unsigned char *__restrict__ mask, const Word *__restrict__ w, Word *__restrict__ out,
                       unsigned int rows, unsigned int cols) {
    unsigned int stride = (cols + 7) / 8;
    unsigned long long bytes = (unsigned long long)rows * stride;
    unsigned long long step = (unsigned long long)blockDim.x * gridDim.x;
    for (unsigned long long i = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; i < bytes; i += step) {
        unsigned int bits = mask[i];
        unsigned int row = i / stride, col = (i - (unsigned long long)row * stride) * 8;
        unsigned long long at = (unsigned long long)row * cols + col;
        if (sizeof(Word) == 2 && cols % 8 == 0) {
            *(uint4 *)(out + at) = both(*(const uint4 *)(w + at), keep8(bits));
        } else {
            for (unsigned int j = 0; j < 8 && col + j < cols; ++j) out[at + j] = bits >> j & 1 ? w[at + j] : Word(0);
        }
    }
}

extern "C" __global__ void expand_b16(const unsigned char *mask, const unsigned short *w, unsigned short *out,
                                      unsigned int rows, unsigned int cols) {
    expand(mask, w, out, rows, cols);
}

extern "C" __global__ void expand_b32(const unsigned char *mask, const unsigned int *w, unsigned int *out,
                                      unsigned int rows, unsigned int cols) {
    expand(mask, w, out, rows, cols);
}
