// y = act(x (W ⊙ M)ᵀ + b) in one pass on the tensor cores, rows of several languages in one launch.
//
// x (M, K), W (N, K) and y (M, N) are row-major f16 or bf16, sums are f32. A segment is a run of rows with one mask
// (or none): bits as the pack holds them, N rows of K / 8 bytes. K is a multiple of 32, N of 2. For compute capability 8.0.
//
//   a block of 128 threads makes a 64 x 64 tile of y, all of K in steps of 32:
//     global → shared     cp.async, three steps ahead: 64 x 32 of x and of W, and a 32-bit word of mask for each row of W;
//                         rows padded to 40 words, so that ldmatrix meets no bank conflict
//     shared → registers  4 warps, each 32 x 32: per 16 of K 2 + 2 ldmatrix.x4
//     registers           each pair of weights is ANDed with its two bits, spread to two words       ← the masking
//     mma.sync            8 of m16n8k16 per 16 of K
//
// W ⊙ M never exists, not even in shared memory. The mask adds one byte of traffic to 16 of weight, and some 6 integer
// operations per register of W, which two mma use: about 100 beside 16 mma a step, on units that otherwise idle.
//
// Traffic: a tile reads (64 + 64) · 2 K bytes and 64 K / 8 of mask through L2 for 2 · 64 · 64 · K operations: 31
// operations a byte, so L2 at an assumed 5.5 TB/s allows 170 TFLOP/s on an H100, a sixth of its dense peak. With few
// rows what counts is latency: K / 32 steps in a row, three of them under way at once. So this kernel is for few rows
// and many languages; expand + cuBLAS is for many rows (plan.rs chooses).
// Occupancy: 4 stages · (2 · 64 · 40 · 2 + 256) bytes = 41 KB of shared memory, at most 128 registers a thread
// (__launch_bounds__): 4 blocks on an SM of an H100 by registers (65536 / (128 · 128)), 3 of an A100 and 2 of an L4 by
// shared memory (164 and 100 KB).
#include "words.cuh"

const int TILE = 64;           // rows and columns of y a block
const int STEP = 32;           // of K at a time
const int STAGES = 4;          // steps in shared memory at once
const int PITCH = STEP + 8;    // words from row to row in shared memory
const int SEGMENTS = 32;       // at most, in one launch

struct Segment {
    unsigned int begin, end;   // rows of x
    const unsigned char *mask; // null: open
};

struct Segments {
    Segment at[SEGMENTS];
    unsigned int count;
};

struct Stage {
    unsigned short x[TILE * PITCH], w[TILE * PITCH];
    unsigned int mask[TILE];
};

template <typename T> __device__ void mma(float (&c)[4], const unsigned int (&a)[4], const unsigned int (&b)[2]);

template <> __device__ __forceinline__ void mma<F16>(float (&c)[4], const unsigned int (&a)[4], const unsigned int (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

template <> __device__ __forceinline__ void mma<BF16>(float (&c)[4], const unsigned int (&a)[4], const unsigned int (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four 8 x 8 matrices of 16-bit words; lane l names row l % 8 of matrix l / 8.
__device__ __forceinline__ void ldmatrix(unsigned int (&r)[4], const unsigned short *row) {
    unsigned int at = (unsigned int)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}

// 16 bytes from global to shared memory, or as many zeros.
__device__ __forceinline__ void copy16(unsigned short *to, const unsigned short *from, bool valid) {
    unsigned int at = (unsigned int)__cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(valid ? 16 : 0) : "memory");
}

__device__ __forceinline__ void copy4(unsigned int *to, const unsigned char *from, bool valid) {
    unsigned int at = (unsigned int)__cvta_generic_to_shared(to);
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(at), "l"(from), "r"(valid ? 4 : 0) : "memory");
}

template <typename T>
__device__ void masked_gemm(const unsigned short *__restrict__ x, const unsigned short *__restrict__ w,
                            const float *__restrict__ bias, unsigned short *__restrict__ y, const Segments &segments,
                            unsigned int n, unsigned int k, unsigned int act) {
    __shared__ __align__(16) Stage stages[STAGES]; // in the end y in f32

    // ---- which tile ---------------------------------------------------------------------------------------------
    // Each segment has its own tiles of rows; blockIdx.y counts through them.
    unsigned int tile = blockIdx.y, s = 0;
    while (tile >= (segments.at[s].end - segments.at[s].begin + TILE - 1) / TILE)
        tile -= (segments.at[s].end - segments.at[s].begin + TILE - 1) / TILE, ++s;
    const Segment segment = segments.at[s];
    const unsigned int row0 = segment.begin + tile * TILE, col0 = blockIdx.x * TILE;
    const unsigned int t = threadIdx.x, lane = t % 32, warp = t / 32;

    // ---- global → shared --------------------------------------------------------------------------------------
    // Thread t brings columns 8 (t % 4) .. + 8 of rows t / 4 and t / 4 + 32, of x and of W, and t < 64 a word of mask.
    const unsigned int steps = k / STEP;
    auto fetch = [&](unsigned int step) {
        if (step < steps) {
            Stage &stage = stages[step % STAGES];
            unsigned int column = step * STEP + t % 4 * 8;
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                unsigned int r = t / 4 + 32 * i, row = row0 + r, out = col0 + r;
                unsigned int at = r * PITCH + t % 4 * 8;
                bool is_row = row < segment.end, is_out = out < n;
                copy16(&stage.x[at], x + (unsigned long long)(is_row ? row : 0) * k + column, is_row);
                copy16(&stage.w[at], w + (unsigned long long)(is_out ? out : 0) * k + column, is_out);
            }
            if (segment.mask && t < TILE) {
                bool is_out = col0 + t < n;
                unsigned long long byte = (unsigned long long)(is_out ? col0 + t : 0) * (k / 8) + step * (STEP / 8);
                copy4(&stage.mask[t], segment.mask + byte, is_out);
            }
        }
        asm volatile("cp.async.commit_group;" ::: "memory"); // an empty one at the end: the count goes on
    };

    // ---- shared → registers, the mask on the way, → tensor cores -------------------------------------------------
    const unsigned int top = warp / 2 * 32, left = warp % 2 * 32; // the warp's 32 x 32 within the tile
    float sum[2][4][4] = {};                                      // [16 rows][8 columns][mma's four]
    auto multiply = [&](const Stage &stage) {
        unsigned int keep[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) keep[j] = segment.mask ? stage.mask[left + 8 * j + lane / 4] : 0xffffffffu;
#pragma unroll
        for (int k0 = 0; k0 < STEP; k0 += 16) {
            unsigned int a[2][4], b[4][2];
#pragma unroll
            for (int i = 0; i < 2; ++i) // rows 0-7, 8-15 at k 0-7; the same at k 8-15
                ldmatrix(a[i], &stage.x[(top + 16 * i + lane % 16) * PITCH + k0 + lane / 16 * 8]);
#pragma unroll
            for (int j = 0; j < 2; ++j) { // columns 0-7 at k 0-7 and 8-15; the same of columns 8-15
                unsigned int r[4];
                ldmatrix(r, &stage.w[(left + 16 * j + lane / 16 * 8 + lane % 8) * PITCH + k0 + lane / 8 % 2 * 8]);
                b[2 * j][0] = r[0], b[2 * j][1] = r[1], b[2 * j + 1][0] = r[2], b[2 * j + 1][1] = r[3];
            }
#pragma unroll
            for (int j = 0; j < 4; ++j)
#pragma unroll
                for (int half = 0; half < 2; ++half) // the lane's pair: row lane / 4, k 2 (lane % 4) and + 1
                    b[j][half] &= keep2(keep[j] >> (k0 + 8 * half + lane % 4 * 2));
#pragma unroll
            for (int i = 0; i < 2; ++i)
#pragma unroll
                for (int j = 0; j < 4; ++j) mma<T>(sum[i][j], a[i], b[j]);
        }
    };

    // ---- the loop over K ------------------------------------------------------------------------------------------
    for (unsigned int step = 0; step < STAGES - 1; ++step) fetch(step);
    for (unsigned int step = 0; step < steps; ++step) {
        asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 2) : "memory"); // this step's copies are done,
        __syncthreads();          // everybody's; and all have multiplied the step before, whose stage is filled now
        fetch(step + STAGES - 1);
        multiply(stages[step % STAGES]);
    }
    __syncthreads();

    // ---- bias, activation, out --------------------------------------------------------------------------------
    // A lane holds two neighbours of row lane / 4 and two of row lane / 4 + 8. Through shared memory, so that a warp
    // writes whole rows.
    float *out = (float *)stages;
    const unsigned int pitch = TILE + 4;
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j)
#pragma unroll
            for (int v = 0; v < 4; ++v)
                out[(top + 16 * i + v / 2 * 8 + lane / 4) * pitch + left + 8 * j + lane % 4 * 2 + v % 2] = sum[i][j][v];
    __syncthreads();
    unsigned int column = col0 + lane * 2;
    if (column >= n) return;
    float b0 = bias ? bias[column] : 0.0f, b1 = bias ? bias[column + 1] : 0.0f;
#pragma unroll 1
    for (unsigned int row = warp; row < TILE && row0 + row < segment.end; row += 4) {
        float v0 = out[row * pitch + lane * 2] + b0, v1 = out[row * pitch + lane * 2 + 1] + b1;
        if (act) v0 = gelu(v0), v1 = gelu(v1);
        *(unsigned int *)(y + (unsigned long long)(row0 + row) * n + column) =
            T::store(v0) | (unsigned int)T::store(v1) << 16;
    }
}

#define MASKED_GEMM(NAME, T)                                                                                           \
    extern "C" __global__ void __launch_bounds__(128, 4)                                                               \
        NAME(const unsigned short *x, const unsigned short *w, const float *bias, unsigned short *y,                   \
             const __grid_constant__ Segments segments, unsigned int n, unsigned int k, unsigned int act) {            \
        masked_gemm<T>(x, w, bias, y, segments, n, k, act);                                                            \
    }
MASKED_GEMM(masked_gemm_f16, F16)
MASKED_GEMM(masked_gemm_bf16, BF16)
