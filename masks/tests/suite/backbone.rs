//! A pack fits one backbone and says so.

use crate::support::{NARROW, Parts, WIDE, pack};
use s3router_masks::{Backbone, Binding, Codec, Error, open_bytes};

fn weights(seed: f32) -> Backbone {
    let mut backbone = Backbone::new();
    let values = |n: usize| (0..n).map(|i| (i as f32 * seed).sin()).collect::<Vec<_>>();
    // The order and the model prefix are the checkpoint's business, not the fingerprint's.
    backbone.add(&format!("wav2vec2.{NARROW}"), &[16, 13], &values(16 * 13)).unwrap();
    backbone.add(WIDE, &[24, 16], &values(24 * 16)).unwrap();
    backbone.add("encoder.layers.0.attention.k_proj.weight", &[2, 2], &values(4)).unwrap();
    backbone
}

#[test]
fn a_pack_binds_to_its_own_backbone_only() {
    let mut bound = pack("tr", 1);
    assert!(matches!(weights(0.1).bind(&mut bound), Err(Error::WrongBackbone { .. })));
    bound.meta.backbone_sha256 = Some(weights(0.1).sha256([WIDE, NARROW]).unwrap());
    assert_eq!(weights(0.1).bind(&mut bound).unwrap(), Binding::Proved);
    let error = weights(0.2).bind(&mut bound).unwrap_err();
    assert!(
        matches!(&error, Error::WrongBackbone { language, expected, found }
        if language == "tr" && Some(expected) == bound.meta.backbone_sha256.as_ref() && expected != found),
        "{error}"
    );
    bound.meta.backbone_sha256 = None;
    assert_eq!(weights(0.2).bind(&mut bound).unwrap(), Binding::Unbound);
}

#[test]
fn the_fingerprint_depends_on_names_shapes_values_and_nothing_else() {
    let fingerprint = weights(0.1).sha256([WIDE, NARROW]).unwrap();
    assert_eq!(fingerprint, weights(0.1).sha256([NARROW, WIDE]).unwrap());
    assert_eq!(fingerprint, weights(0.1).sha256([&*format!("wav2vec2.{NARROW}"), WIDE]).unwrap());
    assert_ne!(fingerprint, weights(0.1).sha256([WIDE]).unwrap());
    let single = |name: &str, shape: [usize; 2], first: f32| {
        let mut backbone = Backbone::new();
        backbone.add(name, &shape, &[first, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        backbone.sha256([name]).unwrap()
    };
    let all = [
        single("a", [2, 3], 0.0),
        single("b", [2, 3], 0.0),
        single("a", [3, 2], 0.0),
        single("a", [2, 3], 0.5),
    ];
    for (i, a) in all.iter().enumerate() {
        assert!(all[..i].iter().all(|b| a != b));
    }
}

#[test]
fn the_fingerprint_is_what_the_format_page_says() {
    let mut backbone = Backbone::new();
    backbone.add("b", &[1], &[2.0]).unwrap();
    backbone.add("wav2vec2.a", &[1, 2], &[0.5, -1.0]).unwrap();
    // hashlib: sha256(b"a\0" + sha256(pack("<QQQff", 2, 1, 2, .5, -1)).digest()
    //               + b"b\0" + sha256(pack("<QQf", 1, 1, 2)).digest())
    let python = "beb725409b7ec78941114bb5995162e8ea9a7ab5f3ac4caa9dc595b77b6bbf77";
    assert_eq!(backbone.sha256(["a", "b"]).unwrap(), python);
}

#[test]
fn a_mask_for_another_shape_or_weight_is_refused_by_name() {
    let mut backbone = weights(0.1);
    backbone.add(WIDE, &[24, 17], &[0.0; 24 * 17]).unwrap();
    let error = backbone.bind(&mut pack("tr", 1)).unwrap_err();
    assert!(
        matches!(&error, Error::Shape { name, expected, found }
        if name == WIDE && expected == &[24, 17] && found == &[24, 16]),
        "{error}"
    );
    let error = Backbone::new().bind(&mut pack("tr", 1)).unwrap_err();
    assert!(matches!(&error, Error::NotInBackbone { name, weights: 0 } if name == WIDE), "{error}");
    assert!(matches!(Backbone::new().add("a", &[2, 3], &[0.0; 5]), Err(Error::Shape { .. })));
}

#[test]
fn a_raw_mask_without_shapes_learns_its_width_from_the_backbone() {
    let mut original = pack("tr", 1);
    original.meta.backbone_sha256 = None;
    let mut parts = Parts::unsealed(&original, Codec::Raw);
    parts.metadata.remove("shapes");
    let mut opened = open_bytes(&parts.bytes()).unwrap().pack;
    assert_eq!(opened.masks[NARROW].cols(), 16);
    weights(0.1).bind(&mut opened).unwrap();
    assert_eq!(opened, original);

    parts.tensor(&format!("mask.{NARROW}")).3[7] |= 0x80;
    let mut opened = open_bytes(&parts.bytes()).unwrap().pack;
    let error = weights(0.1).bind(&mut opened).unwrap_err();
    assert!(matches!(&error, Error::TailBits { name, row: 3, cols: 13 } if name == NARROW), "{error}");
}
