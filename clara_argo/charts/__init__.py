"""Graph -> a Helm chart that a platform team installs: what `clara compile` writes, with holes that values fill.

No second compiler: every object comes from `clara_argo.compile` or from the manifests, and with the default values Helm
gives it back as it was. Knows Helm's template language (https://helm.sh/docs/chart_template_guide/), runs no Helm.
"""

from clara_argo.charts.workflow import Chart, chart
from clara_argo.charts.writing import publish

__all__ = ["Chart", "chart", "publish"]
