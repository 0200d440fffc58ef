// Half-precision numbers as plain words, so that no kernel needs cuda_fp16.h or cuda_bf16.h: a Word is what memory
// holds, a float is what is computed. Nothing in these files has an #include but one of these files.
#pragma once

struct F32 {
    typedef unsigned int Word;
    static __device__ float load(Word w) { return __uint_as_float(w); }
    static __device__ Word store(float v) { return __float_as_uint(v); }
};

struct F16 {
    typedef unsigned short Word;
    static __device__ float load(Word w) {
        float v;
        asm("cvt.f32.f16 %0, %1;" : "=f"(v) : "h"(w));
        return v;
    }
    static __device__ Word store(float v) {
        Word w;
        asm("cvt.rn.f16.f32 %0, %1;" : "=h"(w) : "f"(v));
        return w;
    }
};

struct BF16 {
    typedef unsigned short Word;
    static __device__ float load(Word w) { return __uint_as_float((unsigned int)w << 16); }
    // To the nearest, ties to even; cvt.rn.bf16.f32 is unknown below sm_80.
    static __device__ Word store(float v) {
        unsigned int bits = __float_as_uint(v);
        if (v != v) return 0x7fff;
        return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    }
};

// The two lowest bits of a mask as two words of ones or zeros in a register.
__device__ __forceinline__ unsigned int keep2(unsigned int bits) { return ((bits & 1) | (bits & 2) << 15) * 0xffffu; }

// Eight bits of a mask, least significant first, as eight words.
__device__ __forceinline__ uint4 keep8(unsigned int bits) {
    return make_uint4(keep2(bits), keep2(bits >> 2), keep2(bits >> 4), keep2(bits >> 6));
}

__device__ __forceinline__ uint4 both(uint4 a, uint4 b) {
    return make_uint4(a.x & b.x, a.y & b.y, a.z & b.z, a.w & b.w);
}

// x/2 · (1 + erf(x / √2)): the exact GELU.
__device__ __forceinline__ float gelu(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f)); }
