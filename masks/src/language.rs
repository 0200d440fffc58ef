//! Language tags: `zh-TW`, `zh_tw`, `zh-Hant-TW` are one language, and every answer carries the canonical id.
