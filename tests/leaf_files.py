"""Small files of leaves and flux towers, written as the published ones are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

CURVES = {"Ash_1": ("Fraxinus", "excelsior", "tree"), "Ash_2": ("Fraxinus", "excelsior", "tree"),
          "Oak_1": ("Quercus", "robur", "tree"), "Pea_1": ("Pisum", "sativum", "herb"),
          "Fir_1": ("Abies", "alba", "conifer"), "Elm_1": ("Ulmus", "glabra", "tree")}  # fmt: skip


def curves(root: Path, points: int = 6, seed: int = 0) -> Path:
    """Curves of assimilation and CO2 in the form of LCE, and their traits.

    Curve k has k % 2 points fewer than others; the last point of each is flagged. Assimilation is
    10 + k + point where it is not flagged.
    """
    random, rows, traits = np.random.default_rng(seed), [], []
    for k, (name, (genus, species, pft)) in enumerate(CURVES.items()):
        for point in range(points - k % 2):
            bad = point == points - k % 2 - 1
            co2 = 100.0 + 200.0 * point
            row = [
                name,
                point + 1,
                -3.0 if bad else 10.0 + k + point,
                -9.0 if bad else 0.7 * co2,
                co2,
            ]
            row += [1800.0, 25.0 + k + 0.1 * point, 24.0, 0.2, 2.25, 1.5, 1.2, 60.0, 99.0]
            rows.append([*row, "C3", pft, genus, species, 1 if bad else 0])
        traits.append([name, "2014-05-20", 32.0 + k, -85.0, genus, species, pft,
                       80.0 + 10 * random.random(), 1.0 + 0.1 * k])  # fmt: skip
    columns = (
        "curve_id point A_umol_m2_s Ci_umol_mol Ca_umol_mol PAR_umol_m2_s Tleaf_degC Tair_degC "
        "gsw_mol_m2_s gbw_mol_m2_s E_mmol_m2_s VPDleaf_kPa RH_percent Pair_kPa pathway pft genus "
        "species qc_flag"
    ).split()
    root.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows, columns=columns).to_csv(root / "lce_aci_curves.csv", index=False)
    columns = "curve_id date lat_degN lon_degE genus species pft LMA_g_m2 leaf_N_percent".split()
    pd.DataFrame(traits, columns=columns).to_csv(root / "lce_leaf_traits.csv", index=False)
    return root / "lce_aci_curves.csv"


def towers(root: Path, days: int = 4) -> Path:
    """Two towers with half-hours in the form of FLUXNET: the second begins a day later."""
    for k, site in enumerate(("US-Aa1", "US-Bb2")):
        times = pd.date_range("2019-03-01", periods=48 * days, freq="30min") + pd.Timedelta(k, "d")
        sun = np.clip(np.sin(2 * np.pi * (times.hour - 6) / 24), 0.0, None)
        table = pd.DataFrame(
            {
                "time_end": times.strftime("%Y-%m-%dT%H:%M:%S"),
                "Tair_degC": 10.0 + 5.0 * sun,
                "SWin_W_m2": 800.0 * sun,
                "eair_kPa": 0.9,
                "Pair_kPa": 101.0,
                "SWC_m3_m3": 0.3,
                "precip_mm_30min": 0.5,
                "LE_W_m2": 200.0 * sun,
                "PPFD_umol_m2_s": 1600.0 * sun - 0.3,
                "NEE_umol_m2_s": 2.0 - 10.0 * sun,
                "VPD_kPa": 0.5 * sun - 0.1 * (sun == 0),
            }
        )
        table.to_csv(root / f"{site}_halfhourly.csv", index=False)
    return root
